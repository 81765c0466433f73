package proto

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Unmarshal parses bytes that come from outside. More than MaxDepth nested messages or groups are
// refused (code malformed), unknown fields are ignored.
func Unmarshal(b []byte, m proto.Message) error {
	if !nestingFits(b, m.ProtoReflect().Descriptor(), MaxDepth) {
		return Errorf(malformed, "not a valid %s", m.ProtoReflect().Descriptor().Name())
	}
	if err := (proto.UnmarshalOptions{RecursionLimit: MaxDepth, DiscardUnknown: true}).Unmarshal(b, m); err != nil {
		return Errorf(malformed, "not a valid %s", m.ProtoReflect().Descriptor().Name())
	}
	return nil
}

// nestingFits says whether b has at most depth levels of messages and groups. The library's own limit
// leaves out groups in unknown fields (golang/protobuf issue 1719), which it skips 10,000 levels deep.
func nestingFits(b []byte, md protoreflect.MessageDescriptor, depth int) bool {
	if depth <= 0 {
		return false
	}
	for len(b) > 0 {
		number, wire, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false
		}
		b = b[n:]
		if wire == protowire.StartGroupType { // no message of the schema has groups
			if n = skipGroup(b, depth-1); n < 0 {
				return false
			}
			b = b[n:]
			continue
		}
		if n = protowire.ConsumeFieldValue(number, wire, b); n < 0 {
			return false
		}
		field := md.Fields().ByNumber(number)
		if field != nil && field.Message() != nil && wire == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(b)
			if !nestingFits(value, field.Message(), depth-1) {
				return false
			}
		}
		b = b[n:]
	}
	return true
}

// skipGroup returns the length of a group's fields with its end tag, or -1 if it is cut off or nests
// more than depth levels. Whether the numbers of start and end agree is for the parser to check.
func skipGroup(b []byte, depth int) int {
	total, open := 0, 1
	for open > 0 {
		if open > depth {
			return -1
		}
		number, wire, n := protowire.ConsumeTag(b[total:])
		if n < 0 {
			return -1
		}
		total += n
		if wire == protowire.StartGroupType {
			open++
			continue
		}
		if wire == protowire.EndGroupType {
			open--
			continue
		}
		if n = protowire.ConsumeFieldValue(number, wire, b[total:]); n < 0 {
			return -1
		}
		total += n
	}
	return total
}
