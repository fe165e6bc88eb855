//go:build !race

package replicas

var buildFlags []string
