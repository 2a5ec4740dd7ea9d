package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSmallHeapsGrowToTheFloorAndLargeOnesDouble(t *testing.T) {
	for live, percent := range map[uint64]int{
		0:               100,
		1 << 20:         1000,
		heapFloor / 4:   300,
		heapFloor / 3:   200,
		heapFloor / 2:   100,
		heapFloor:       100,
		100 * heapFloor: 100,
	} {
		require.Equal(t, percent, gcPercent(live), "%d bytes", live)
	}
}
