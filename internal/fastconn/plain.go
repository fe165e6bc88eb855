//go:build !linux || race

package fastconn

// transport has nothing to remember: bytes take net.Conn's way, which the race
// detector knows, and which every system has.
type transport struct{}

func (c *Conn) open() error { return nil }

// receive waits until there is something to read ahead.
func (c *Conn) receive() error {
	buffer := buffers.Get().(*[]byte)
	n, err := c.Conn.Read(*buffer)
	if n == 0 {
		buffers.Put(buffer)
		return err
	}
	c.ahead, c.to = buffer, n
	return nil
}

// Write sends p, within the time for the whole reply.
func (c *Conn) Write(p []byte) (int, error) {
	if err := c.noRoom(); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}
