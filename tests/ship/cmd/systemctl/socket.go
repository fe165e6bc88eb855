package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/busdk/bus-api-provider-vm/tests/ship/unit"
)

// doSocket opens the socket of a socket unit and holds it, for services that
// start from then on, or closes it. Unlike systemd it starts no service for a
// client that comes.
func (s *service) doSocket(verb string) error {
	switch {
	case verb == "stop" && s.socket != nil:
		err := s.socket.Close()
		s.socket = nil
		return err
	case verb == "stop", verb == "start" && s.socket != nil:
		return nil
	case verb != "start":
		return fmt.Errorf("a socket is started and stopped, not %sed", verb)
	case s.active("service"):
		return errors.New("the service is already active, refusing") // as systemd does
	}
	file, err := unit.Find(s.name+".socket", unitDirectories...)
	if err != nil {
		return err
	}
	addr, network := file.One("Socket.ListenStream"), "tcp"
	if strings.HasPrefix(addr, "/") {
		network = "unix"
	}
	listener, err := net.Listen(network, addr)
	if err != nil {
		return err
	}
	if s.socket, err = listener.(interface{ File() (*os.File, error) }).File(); err != nil {
		return errors.Join(err, listener.Close())
	}
	s.fdName = file.One("Socket.FileDescriptorName")
	return listener.Close() // the file holds it on
}
