# What the platform's tools run in every module, with its variables. Go, git and
# make suffice. The recipes of development are in the justfile.
GO ?= go
CGO_ENABLED ?= 0
BINARY ?= bus-api-provider-vm
VERSION ?= $(shell deploy/version)
TEST_PKGS ?= ./...
INSTALL ?= install
DESTDIR ?=
# PREFIX counts before GOBIN.
BINDIR ?= $(if $(PREFIX),$(PREFIX)/bin,$(or $(GOBIN),$(HOME)/.local/bin))

export CGO_ENABLED

.PHONY: all build test install uninstall clean

all: build

build:
	$(GO) build -trimpath -buildvcs=false \
		-ldflags '-s -w -X github.com/busdk/bus-api-provider-vm/internal/version.override=$(VERSION)' \
		-o bin/$(BINARY) ./cmd/bus-api-provider-vm

test:
	$(GO) test $(TEST_PKGS)

install: build
	mkdir -p '$(DESTDIR)$(BINDIR)'
	$(INSTALL) -m 0755 bin/$(BINARY) '$(DESTDIR)$(BINDIR)/$(BINARY)'

uninstall:
	rm -f '$(DESTDIR)$(BINDIR)/$(BINARY)'

clean:
	rm -rf bin
