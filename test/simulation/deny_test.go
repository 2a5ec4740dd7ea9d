//go:build synctests

package simulation

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// frame is a request or a response as it is on the wire, with its size.
type frame struct {
	version int16
	bytes   []byte
}

// deny makes an error of a response to what was done, in place: its size stays the same.
func (f frame) deny(key kmsg.Key, err *kerr.Error) {
	resp := kmsg.ResponseForKey(int16(key))
	resp.SetVersion(f.version)
	begin := 8 // size and correlation id
	if resp.IsFlexible() {
		begin++ // no tags
	}
	body := f.bytes[begin:]
	if err := resp.ReadFrom(body); err != nil {
		panic(fmt.Sprintf("reading a response to %s version %d: %v", key.Name(), f.version, err))
	}
	switch resp := resp.(type) {
	case *kmsg.ProduceResponse:
		for _, t := range resp.Topics {
			for i := range t.Partitions {
				t.Partitions[i].ErrorCode = err.Code
			}
		}
	case *kmsg.TxnOffsetCommitResponse:
		for _, t := range resp.Topics {
			for i := range t.Partitions {
				t.Partitions[i].ErrorCode = err.Code
			}
		}
	case *kmsg.EndTxnResponse:
		resp.ErrorCode = err.Code
	case *kmsg.InitProducerIDResponse:
		resp.ErrorCode = err.Code
	default:
		panic("no errors are known of " + key.Name())
	}
	denied := resp.AppendTo(nil)
	if len(denied) != len(body) {
		panic("the response to " + key.Name() + " has another size with an error")
	}
	copy(body, denied)
}
