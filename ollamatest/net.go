package ollamatest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
)

// Net is a network in memory: addresses are plain strings, connections are net.Pipe. Unlike sockets its waits
// are durably blocking, so a whole chain of client, gateway and servers runs inside a testing/synctest bubble.
// The zero value is ready to use.
type Net struct {
	mu        sync.Mutex
	listeners map[string]*Listener
}

// Listen opens an address, "host:port". It fails when it is taken.
func (n *Net) Listen(addr string) (*Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[addr] != nil {
		return nil, fmt.Errorf("listen %s: address already in use", addr)
	}
	if n.listeners == nil {
		n.listeners = map[string]*Listener{}
	}
	l := &Listener{net: n, addr: memAddr(addr), conns: make(chan net.Conn), closed: make(chan struct{})}
	n.listeners[addr] = l
	return l, nil
}

// DialContext connects to an address; it fits http.Transport.DialContext. Nobody listening there is an error like
// a refused connection.
func (n *Net) DialContext(ctx context.Context, _, addr string) (net.Conn, error) {
	n.mu.Lock()
	l := n.listeners[addr]
	n.mu.Unlock()
	if l == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: memAddr(addr), Err: errRefused}
	}
	client, server := net.Pipe()
	reset := new(atomic.Bool)
	select {
	case l.conns <- memConn{server, l.addr, memAddr("127.0.0.1:1"), reset}:
		return memConn{client, memAddr("127.0.0.1:1"), l.addr, reset}, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: l.addr, Err: errRefused}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Serve serves a handler at an address until stop is called, which also cuts every connection.
func (n *Net) Serve(addr string, h http.Handler) (stop func(), err error) {
	l, err := n.Listen(addr)
	if err != nil {
		return nil, err
	}
	srv := &http.Server{Handler: h}
	go func() { _ = srv.Serve(l) }()
	return func() { _ = srv.Close() }, nil
}

// Client is an HTTP client on this network. CloseIdleConnections ends it: a bubble waits for that.
func (n *Net) Client() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: n.DialContext, MaxIdleConnsPerHost: 1 << 16}}
}

var (
	errRefused = fmt.Errorf("connect: connection refused")
	errReset   = fmt.Errorf("read: connection reset by peer")
)

// Listener is a net.Listener of a Net.
type Listener struct {
	net    *Net
	addr   memAddr
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

// Accept waits for the next connection.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close frees the address. Connections that were accepted stay open.
func (l *Listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.net.mu.Lock()
		defer l.net.mu.Unlock()
		delete(l.net.listeners, string(l.addr))
	})
	return nil
}

// Addr is the address that Listen was given.
func (l *Listener) Addr() net.Addr { return l.addr }

type memAddr string

func (memAddr) Network() string  { return "tcp" }
func (a memAddr) String() string { return string(a) }

// memConn gives a pipe addresses, which http.Request.RemoteAddr shows, and the end that SetLinger(0) asks for.
type memConn struct {
	net.Conn
	local, remote memAddr
	reset         *atomic.Bool // of both ends
}

// SetLinger is net.TCPConn's: with 0, a close is a reset.
func (c memConn) SetLinger(sec int) error {
	c.reset.Store(sec == 0)
	return nil
}

func (c memConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil && c.reset.Load() {
		err = &net.OpError{Op: "read", Net: "tcp", Addr: c.remote, Err: errReset}
	}
	return n, err
}

func (c memConn) LocalAddr() net.Addr  { return c.local }
func (c memConn) RemoteAddr() net.Addr { return c.remote }
