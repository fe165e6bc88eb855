// Package containers holds the files for containers to what an engine would
// make of them, where there is none: the Dockerfile goes through BuildKit's own
// front end and linter, the compose files through compose's own loader, and
// what both describe is then built and run by hand. The same instructions, the
// same commands, environments, users, mounts and names, in directories and a
// network of their own.
//
// It is a module of its own, so that the gateway does not come to require
// BuildKit. It wants root, nginx and iproute2: `just containers`.
package containers
