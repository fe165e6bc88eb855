// Package hostile is what a gateway must refuse, as data: bearer tokens and
// raw HTTP requests, each with the answer it deserves. Unit tests and the
// end-to-end tests of the built binary run the same tables.
//
// Tokens are put together byte by byte, without a JWT library, so that a
// misreading in the library under test cannot hide here as well.
package hostile
