package main

import (
	"math/rand"
	"net"
	"sync"
	"sync/atomic"
)

// lossyConn loses a fraction of the datagrams in each direction, by a seed.
type lossyConn struct {
	net.PacketConn
	fraction float64
	count    atomic.Uint64

	mu     sync.Mutex
	random *rand.Rand
}

func newLossyConn(conn net.PacketConn, fraction float64, seed int64) *lossyConn {
	return &lossyConn{PacketConn: conn, fraction: fraction, random: rand.New(rand.NewSource(seed))}
}

func (c *lossyConn) lost() uint64 { return c.count.Load() }

func (c *lossyConn) loses() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.random.Float64() >= c.fraction {
		return false
	}
	c.count.Add(1)
	return true
}

func (c *lossyConn) ReadFrom(buffer []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.PacketConn.ReadFrom(buffer)
		if err != nil || !c.loses() {
			return n, from, err
		}
	}
}

func (c *lossyConn) WriteTo(datagram []byte, to net.Addr) (int, error) {
	if c.loses() {
		return len(datagram), nil
	}
	return c.PacketConn.WriteTo(datagram, to)
}
