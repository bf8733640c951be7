module ratbond/tests/interop/kcppeer

go 1.23.0

require (
	github.com/xtaci/kcp-go/v5 v5.6.24
	golang.org/x/crypto v0.37.0
)

require (
	github.com/klauspost/cpuid/v2 v2.2.6 // indirect
	github.com/klauspost/reedsolomon v1.12.0 // indirect
	github.com/pkg/errors v0.9.1 // indirect
	github.com/tjfoc/gmsm v1.4.1 // indirect
	golang.org/x/net v0.38.0 // indirect
	golang.org/x/sys v0.32.0 // indirect
)
