package proto

import (
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	pb "github.com/parley-chat/parley/proto/parleyv1"
)

// groups are n groups within each other.
func groups(n int) []byte {
	var b []byte
	for range n {
		b = protowire.AppendTag(b, 1000, protowire.StartGroupType)
	}
	for range n {
		b = protowire.AppendTag(b, 1000, protowire.EndGroupType)
	}
	return b
}

// inside puts b into a field of a message.
func inside(number protowire.Number, b []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), b)
}

// nestedValues are n messages within each other: a structpb.Value is the only message at hand that
// holds itself, through a list.
func nestedValues(t *testing.T, n int) []byte {
	t.Helper()
	b := []byte{}
	for i := range n - 1 {
		if i%2 == n%2 {
			b = inside(6, b) // Value.list_value
		} else {
			b = inside(1, b) // ListValue.values
		}
	}
	return b
}

func TestUnmarshalLimitsDepth(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		b       []byte
		message proto.Message
		ok      bool
	}{
		"empty":                             {nil, &pb.Frame{}, true},
		"31 groups in a message":            {groups(MaxDepth - 1), &pb.Frame{}, true},
		"32 groups in a message":            {groups(MaxDepth), &pb.Frame{}, false},
		"30 groups in a message in another": {inside(20, groups(MaxDepth-2)), &pb.Frame{}, true},
		"31 groups in a message in another": {inside(20, groups(MaxDepth-1)), &pb.Frame{}, false},
		"10,000 groups":                     {groups(10_000), &pb.Frame{}, false},
		"10,000 groups without end":         {groups(10_000)[:20_000], &pb.Frame{}, false},
		"100,000 groups in a known message": {inside(20, groups(100_000)), &pb.Frame{}, false},
		"many groups side by side":          {append(groups(5), groups(5)...), &pb.Frame{}, true},
		"a group that does not end":         {groups(1)[:2], &pb.Frame{}, false},
		"a group that ends without start":   {groups(1)[2:], &pb.Frame{}, false},
		"a group with another end": {
			protowire.AppendTag(protowire.AppendTag(nil, 1000, protowire.StartGroupType), 1001, protowire.EndGroupType), &pb.Frame{}, false,
		},
		"32 messages":         {nestedValues(t, MaxDepth), &structpb.ListValue{}, true},
		"33 messages":         {nestedValues(t, MaxDepth+1), &structpb.Value{}, false},
		"depth in bytes":      {inside(9999, groups(50)), &pb.Frame{}, true}, // an unknown field of bytes is not looked into
		"a cut tag":           {[]byte{0x80}, &pb.Frame{}, false},
		"a cut field":         {inside(20, make([]byte, 10))[:5], &pb.Frame{}, false},
		"text that is no UTF": {inside(11, inside(3, []byte{0xff})), &pb.Frame{}, true}, // 11 is Welcome, whose field 3 is bytes
		"a name that is none": {inside(2, inside(2, []byte{0xff})), &pb.Frame{}, false}, // error.message
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := Unmarshal(c.b, c.message); (err == nil) != c.ok {
				t.Errorf("error %v, want ok %v", err, c.ok)
			}
		})
	}
}

func TestUnmarshalDropsUnknownFields(t *testing.T) {
	t.Parallel()
	m := &pb.Post{}
	if err := Unmarshal(append(inside(1, nil), inside(77, []byte("later"))...), m); err != nil {
		t.Fatal(err)
	}
	if len(m.GetEnvelopes()) != 1 || len(m.ProtoReflect().GetUnknown()) != 0 {
		t.Errorf("read %v", m)
	}
}
