// Command kcppeer is a peer of kcp-go v5, the independent KCP that ratbond's wire format is held against.
//
//	kcppeer serve ADDRESS [flags]   answers every conversation: echoes bytes, or reflects IP packets (-ip)
//	kcppeer dial  ADDRESS [flags]   sends -count messages of -size bytes and checks that all of it comes back
//
// What happened goes to standard output as one JSON object a line; the exit status is 0 only if all came back.
package main

import (
	"crypto/sha1"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"time"

	kcp "github.com/xtaci/kcp-go/v5"
	"golang.org/x/crypto/pbkdf2"
)

// options are the flags; their defaults are what stock ratbond sets, where a peer can see it.
type options struct {
	conv                 uint
	crypt, secret        string
	dataShards, parity   int
	mtu, sndWnd, rcvWnd  int
	noDelay, interval    int
	resend, noCongestion int
	stream, ip           bool
	count, size          int
	loss                 float64
	seed                 int64
	timeout              time.Duration
}

func parseFlags(arguments []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("kcppeer", flag.ContinueOnError)
	flags.UintVar(&o.conv, "conv", 660, "conversation that dial opens")
	flags.StringVar(&o.crypt, "crypt", "none", "aes, none (header only), or nil (no header)")
	flags.StringVar(&o.secret, "secret", "ratbond", "passphrase, stretched as stock ratbond does")
	flags.IntVar(&o.dataShards, "data", 0, "FEC data shards")
	flags.IntVar(&o.parity, "parity", 0, "FEC parity shards")
	flags.IntVar(&o.mtu, "mtu", 1360, "KCP MTU in bytes")
	flags.IntVar(&o.sndWnd, "sndwnd", 1024, "send window in segments")
	flags.IntVar(&o.rcvWnd, "rcvwnd", 1024, "receive window in segments")
	flags.IntVar(&o.noDelay, "nodelay", 1, "KCP nodelay")
	flags.IntVar(&o.interval, "interval", 10, "KCP interval in ms")
	flags.IntVar(&o.resend, "resend", 2, "KCP fast resend")
	flags.IntVar(&o.noCongestion, "nc", 1, "1 turns KCP's congestion window off")
	flags.BoolVar(&o.stream, "stream", true, "stream mode; false keeps message boundaries")
	flags.BoolVar(&o.ip, "ip", false, "messages are IPv4 packets: serve reflects them, dial sends ICMP echo requests")
	flags.IntVar(&o.count, "count", 100, "messages that dial sends")
	flags.IntVar(&o.size, "size", 1000, "bytes of a message")
	flags.Float64Var(&o.loss, "loss", 0, "fraction of datagrams to lose, in each direction")
	flags.Int64Var(&o.seed, "seed", 1, "seed of the losses")
	flags.DurationVar(&o.timeout, "timeout", 20*time.Second, "how long dial waits for what is missing")
	return o, flags.Parse(arguments)
}

func (o options) block() (kcp.BlockCrypt, error) {
	key := pbkdf2.Key([]byte(o.secret), []byte("ratbond salt"), 1024, 32, sha1.New)
	switch o.crypt {
	case "aes":
		return kcp.NewAESBlockCrypt(key)
	case "none":
		return kcp.NewNoneBlockCrypt(key)
	case "nil":
		return nil, nil
	}
	return nil, fmt.Errorf("-crypt %s is none of aes, none, nil", o.crypt)
}

func (o options) tune(session *kcp.UDPSession) {
	session.SetStreamMode(o.stream)
	session.SetWriteDelay(false)
	session.SetNoDelay(o.noDelay, o.interval, o.resend, o.noCongestion)
	session.SetMtu(o.mtu)
	session.SetWindowSize(o.sndWnd, o.rcvWnd)
	session.SetACKNoDelay(false)
}

func report(fields map[string]any) {
	line, err := json.Marshal(fields)
	if err != nil {
		panic(err) // the fields are numbers and strings
	}
	fmt.Println(string(line))
}

func serve(address string, o options) error {
	block, err := o.block()
	if err != nil {
		return err
	}
	udp, err := net.ListenPacket("udp", address)
	if err != nil {
		return err
	}
	conn := newLossyConn(udp, o.loss, o.seed)
	listener, err := kcp.ServeConn(block, o.dataShards, o.parity, conn)
	if err != nil {
		return err
	}
	report(map[string]any{"event": "listening", "address": udp.LocalAddr().String()})
	for {
		session, err := listener.AcceptKCP()
		if err != nil {
			return err
		}
		report(map[string]any{"event": "accepted", "conv": session.GetConv(), "peer": session.RemoteAddr().String()})
		o.tune(session)
		if o.ip {
			go reflectPackets(session)
		} else {
			go echo(session)
		}
	}
}

func dial(address string, o options) (bool, error) {
	block, err := o.block()
	if err != nil {
		return false, err
	}
	remote, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return false, err
	}
	udp, err := net.ListenPacket("udp", ":0")
	if err != nil {
		return false, err
	}
	conn := newLossyConn(udp, o.loss, o.seed)
	session, err := kcp.NewConn3(uint32(o.conv), remote, block, o.dataShards, o.parity, conn)
	if err != nil {
		return false, err
	}
	defer session.Close()
	o.tune(session)

	started := time.Now()
	var result outcome
	if o.ip {
		result, err = ping(session, o)
	} else {
		result, err = sendAndCompare(session, o)
	}
	if err != nil {
		return false, err
	}
	report(map[string]any{
		"event": "done", "sent": result.sent, "came_back": result.cameBack, "wrong": result.wrong,
		"seconds": time.Since(started).Seconds(), "datagrams_lost": conn.lost(),
		"retransmitted": kcp.DefaultSnmp.RetransSegs, "fec_recovered": kcp.DefaultSnmp.FECRecovered,
		"malformed": kcp.DefaultSnmp.KCPInErrors, "checksum_errors": kcp.DefaultSnmp.InCsumErrors,
	})
	return result.cameBack == result.sent && result.wrong == 0, nil
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: kcppeer serve|dial ADDRESS [flags]")
		os.Exit(2)
	}
	o, err := parseFlags(os.Args[3:])
	ok := false
	if err == nil {
		switch os.Args[1] {
		case "serve":
			err = serve(os.Args[2], o)
		case "dial":
			ok, err = dial(os.Args[2], o)
		default:
			err = fmt.Errorf("%s is neither serve nor dial", os.Args[1])
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "kcppeer:", err)
	}
	if !ok {
		os.Exit(1)
	}
}
