// Command bus-api-provider-vm is the program at the root of this module, where
// the platform's tools look for it.
package main

import (
	"os"

	"github.com/busdk/bus-api-provider-vm/internal/app"
)

func main() { os.Exit(app.Main(os.Args[1:])) }
