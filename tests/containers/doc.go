// Package containers checks the files for containers with the parsers of those
// who read them: the Dockerfile goes through BuildKit's front end and linter, the
// compose files through compose's loader. What the images hold, who runs them and
// how compose connects the services is compared with what the binary needs.
//
// It is a module of its own, so that the gateway does not come to require
// BuildKit: `just containers`.
package containers
