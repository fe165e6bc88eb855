// Package ship compares what is shipped with what is promised of it: the units
// and the .deb. It installs, upgrades, removes and purges the package on a machine
// of its own, a bare Debian in a directory with its own network and processes, and
// runs the commands of the documents there as they are written.
//
// The tests have the build tag ship and want root, the network and the programs
// that .ci/run installs: `just ship`.
package ship
