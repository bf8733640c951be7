package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"time"

	kcp "github.com/xtaci/kcp-go/v5"
)

// outcome counts what dial sent and what came back: messages, or bytes in stream mode.
type outcome struct {
	sent, cameBack, wrong int
}

func echo(session *kcp.UDPSession) {
	defer session.Close()
	buffer := make([]byte, 1<<16)
	for {
		n, err := session.Read(buffer)
		if err != nil {
			return
		}
		if _, err := session.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// message is the index-th message; every byte depends on its place, so that nothing lost or swapped goes unseen.
func message(index, size int) []byte {
	body := make([]byte, size)
	state := uint32(index)*2654435761 + 1
	for i := range body {
		state = state*1664525 + 1013904223
		body[i] = byte(state >> 24)
	}
	return body
}

// sendAndCompare sends all messages and compares what comes back, as bytes in stream mode, message by message otherwise.
func sendAndCompare(session *kcp.UDPSession, o options) (outcome, error) {
	expected := make([][]byte, o.count)
	for index := range expected {
		expected[index] = message(index, o.size)
	}
	go func() {
		for _, body := range expected {
			if _, err := session.Write(body); err != nil {
				return // the session was closed: what did not come back is missed there
			}
		}
	}()

	if err := session.SetReadDeadline(time.Now().Add(o.timeout)); err != nil {
		return outcome{}, err
	}
	if o.stream {
		return compareBytes(session, bytes.Join(expected, nil))
	}
	return compareMessages(session, expected)
}

func compareBytes(session io.Reader, expected []byte) (outcome, error) {
	result := outcome{sent: len(expected)}
	got := make([]byte, len(expected))
	n, err := io.ReadFull(session, got)
	for i := range got[:n] {
		if got[i] != expected[i] {
			result.wrong++
		}
	}
	result.cameBack = n
	if err != nil && !isTimeout(err) {
		return result, err
	}
	return result, nil
}

func compareMessages(session io.Reader, expected [][]byte) (outcome, error) {
	result := outcome{sent: len(expected)}
	buffer := make([]byte, 1<<16)
	for _, body := range expected {
		n, err := session.Read(buffer)
		if isTimeout(err) {
			return result, nil
		}
		if err != nil {
			return result, err
		}
		result.cameBack++
		if !bytes.Equal(buffer[:n], body) {
			result.wrong++
		}
	}
	return result, nil
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
