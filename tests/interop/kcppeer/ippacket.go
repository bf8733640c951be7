package main

import (
	"encoding/binary"
	"time"

	kcp "github.com/xtaci/kcp-go/v5"
)

const (
	ipHeaderLen   = 20
	icmpHeaderLen = 8
	helloLen      = 40
	icmp          = 1
	udp           = 17
	echoRequest   = 8
	echoReply     = 0
	// Not 0: the checksum of nothing but zeros may be written in two ways.
	echoIdentifier = 660
)

// The addresses that stock ratbond takes by default: its client the first host, its server the second.
var (
	clientAddress = [4]byte{10, 10, 10, 1}
	serverAddress = [4]byte{10, 10, 10, 2}
)

// hello is stock's sign of life: 40 bytes of zero as one message.
func hello() []byte { return make([]byte, helloLen) }

func isHello(message []byte) bool {
	return len(message) == helloLen && message[0] == 0 && message[1] == 0
}

// keepAlive says HELLO every two seconds, as stock does, until the session ends.
func keepAlive(session *kcp.UDPSession) {
	for {
		if _, err := session.Write(hello()); err != nil {
			return
		}
		time.Sleep(2 * time.Second)
	}
}

// forgetAfter is how long stock keeps a conversation on which no message comes.
const forgetAfter = 5 * time.Second

// reflectPackets sends each IPv4 packet back to where it came from: pings answered, UDP echoed. It forgets a silent
// conversation as stock does, without a word.
func reflectPackets(session *kcp.UDPSession) {
	defer session.Close()
	go keepAlive(session)
	buffer := make([]byte, 1<<16)
	for {
		session.SetReadDeadline(time.Now().Add(forgetAfter))
		n, err := session.Read(buffer)
		if err != nil {
			return
		}
		if packet := buffer[:n]; reflected(packet) {
			if _, err := session.Write(packet); err != nil {
				return
			}
		}
	}
}

// reflected turns a packet round in place. The checksums of IP and UDP do not change when sources and destinations swap.
func reflected(packet []byte) bool {
	if len(packet) < ipHeaderLen+icmpHeaderLen || packet[0] != 0x45 {
		return false
	}
	swap(packet[12:16], packet[16:20])
	body := packet[ipHeaderLen:]
	switch {
	case packet[9] == icmp && body[0] == echoRequest:
		body[0] = echoReply
		binary.BigEndian.PutUint16(body[2:], 0)
		binary.BigEndian.PutUint16(body[2:], checksum(body))
		return true
	case packet[9] == udp:
		swap(body[0:2], body[2:4])
		return true
	}
	return false
}

func swap(a, b []byte) {
	for i := range a {
		a[i], b[i] = b[i], a[i]
	}
}

// ping sends ICMP echo requests through the conversation to the tunnel's other end and counts the right answers.
func ping(session *kcp.UDPSession, o options) (outcome, error) {
	go keepAlive(session)
	go func() {
		for sequence := 0; sequence < o.count; sequence++ {
			if _, err := session.Write(echoRequestPacket(uint16(sequence), o.size)); err != nil {
				return // the reader reports what is missing
			}
			time.Sleep(time.Millisecond)
		}
	}()

	result := outcome{sent: o.count}
	seen := make(map[uint16]bool)
	buffer := make([]byte, 1<<16)
	session.SetReadDeadline(time.Now().Add(o.timeout))
	for result.cameBack < o.count {
		n, err := session.Read(buffer)
		if isTimeout(err) {
			return result, nil
		}
		if err != nil {
			return result, err
		}
		sequence, right := echoReplySequence(buffer[:n], o.size)
		switch {
		case isHello(buffer[:n]) || buffer[0]>>4 != 4 || n >= ipHeaderLen && buffer[9] != icmp:
			// Its kernel may say other things, too.
		case !right || seen[sequence]:
			result.wrong++
		default:
			seen[sequence] = true
			result.cameBack++
		}
	}
	return result, nil
}

// echoRequestPacket is a whole IPv4 packet of size bytes from the tunnel's client to its server.
func echoRequestPacket(sequence uint16, size int) []byte {
	size = max(size, ipHeaderLen+icmpHeaderLen)
	packet := make([]byte, size)
	packet[0] = 0x45
	binary.BigEndian.PutUint16(packet[2:], uint16(size))
	packet[8] = 64
	packet[9] = icmp
	copy(packet[12:], clientAddress[:])
	copy(packet[16:], serverAddress[:])
	binary.BigEndian.PutUint16(packet[10:], checksum(packet[:ipHeaderLen]))

	body := packet[ipHeaderLen:]
	body[0] = echoRequest
	binary.BigEndian.PutUint16(body[4:], echoIdentifier)
	binary.BigEndian.PutUint16(body[6:], sequence)
	copy(body[icmpHeaderLen:], message(int(sequence), size-ipHeaderLen-icmpHeaderLen))
	binary.BigEndian.PutUint16(body[2:], checksum(body))
	return packet
}

// echoReplySequence tells which request a packet answers, and whether it is the right answer to it.
func echoReplySequence(packet []byte, size int) (uint16, bool) {
	if len(packet) < ipHeaderLen+icmpHeaderLen {
		return 0, false
	}
	body := packet[ipHeaderLen:]
	sequence := binary.BigEndian.Uint16(body[6:])
	request := echoRequestPacket(sequence, size)
	same := len(packet) == len(request) && string(body[icmpHeaderLen:]) == string(request[ipHeaderLen+icmpHeaderLen:])
	return sequence, same && body[0] == echoReply && checksum(body) == 0
}

// checksum is the Internet checksum of RFC 1071.
func checksum(data []byte) uint16 {
	var sum uint32
	for ; len(data) >= 2; data = data[2:] {
		sum += uint32(binary.BigEndian.Uint16(data))
	}
	if len(data) == 1 {
		sum += uint32(data[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
