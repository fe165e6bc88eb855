// Package e2e drives the built binary from outside, as operators and callers
// do: flags, environment and files, sockets and raw bytes, signals, nginx.
//
// Everything runs at debug level, and at the end all that was logged is
// searched for the secrets and tokens that were used.
//
//	E2E_RACE=1   build the binary with the race detector
//	CI=true      a missing program (nginx, curl, prometheus, promtool) is a failure instead of a skip
package e2e
