// Command bus-api-provider-vm is the VM API provider: a gateway that reads,
// starts and stops one runtime for callers with bearer tokens.
package main

import (
	"os"

	"github.com/busdk/bus-api-provider-vm/internal/app"
)

func main() { os.Exit(app.Main(os.Args[1:])) }
