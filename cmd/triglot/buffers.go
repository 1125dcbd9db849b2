package main

import (
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/mem"
)

// The buffers that gRPC's clients put messages together in: the JSON gateway above all, which calls the server within the process. Their
// own pool knows five sizes, with nothing between 32 KiB and 1 MiB, and clears a buffer over its whole length each time: an answer of
// 33 KiB costs the clearing of a mebibyte. With every power of two none is more than twice the message.

// Exponents of the sizes: 256 bytes, and 2 MiB, the largest request. Larger ones share a pool without sizes.
const (
	smallestBuffer = 8
	largestBuffer  = 21
)

func init() { // the pool must be in its place before gRPC is used
	var exponents []uint8
	for e := uint8(smallestBuffer); e <= largestBuffer; e++ {
		exponents = append(exponents, e)
	}
	pool, err := mem.NewBinaryTieredBufferPool(exponents...)
	if err != nil {
		panic(err) // the constants above are no exponents that memory can have
	}
	experimental.SetDefaultBufferPool(pool)
}
