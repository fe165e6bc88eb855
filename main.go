package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/busdk/bus-api-provider-vm/internal/app"
	"github.com/busdk/bus-api-provider-vm/internal/config"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, stop)
	flags := config.NewFlagSet("x", config.AllFlags)
	if err := flags.Parse(os.Args[1:]); err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
	c, err := config.Load(config.Input{Flags: flags, Environ: os.Environ()})
	if err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
	if err := app.Run(ctx, c, os.Stdout, os.Stderr); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
