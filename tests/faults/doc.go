// Package faults holds the gateway in events mode to its promises while the
// world around it breaks. Its tests run the whole gateway, in this process or
// as the built binary, against the Bus Events API and workers of
// tests/platform, break one thing, put it right, and ask the platform what
// really happened.
//
// # What must hold after every test
//
// The rig of each test checks it at its end, whatever else the test looked at:
//
//   - every request was answered once, in the envelope, with a status that
//     fits its type, on a connection that carried nothing else;
//   - a 202 has exactly one requested and one finished record at the usage
//     worker; whatever was published to the VM worker has a requested record
//     and one end; whatever is on record is whole;
//   - nothing was published to the VM worker before billing allowed that
//     write, and no write was published twice;
//   - nothing at all was published for a caller refused with 400, 401 or 403,
//     and nothing but the entitlement check for a 402;
//   - no read after a 202 showed a status that was asked for before it;
//   - no record waits, no request waits, and every gateway ended with the
//     exit code that the test says;
//   - no log holds a token or a secret.
//
// Each write is made by an account of its own, so the platform's records tell
// writes apart without a word from the gateway.
//
// # Families
//
// One file each: absent and returning API (away), sick API (sick), mangled
// streams (lines), deadlines and replicas of replies (late), workers, callers,
// tokens, clock, disk, kill -9 (kill), replicas, load, bounds of memory, and all of
// it for an hour (soak).
package faults
