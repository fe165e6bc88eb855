// Package platform is the part of the Bus platform that a VM provider meets:
// a Bus Events API on a real socket, and the VM, billing and usage workers
// behind it. Tests turn its faults on and ask it what really happened;
// cmd/busstack runs it in the foreground.
//
// It shares no code with the provider's own Events client: what it accepts,
// refuses and counts is an independent reading of the platform's contract, so
// a misunderstanding on the provider's side shows instead of cancelling out.
//
// # Identity
//
// The Events API stamps each event with the `sub` of the token that published
// it, and a stream carries only events of its own token's `sub`. There is no
// privileged reader. A provider and its workers therefore hold tokens of one
// service identity (Identity) with different scopes; a second deployment is a
// second identity, and neither sees anything of the other.
//
// # Delivery
//
// Broadcast gives an event to each listener. Unicast gives it to one listener
// of each group in turn; a group remembers how far it got, so a worker that
// returns with replay=true finds the requests it missed and no older ones. An
// event handed to a stream that is cut before writing it out is lost to that
// group, as with any at-most-once queue.
package platform
