package proto

import "time"

// Limits of version 1 (docs/PROTOCOL.md §9). web/src/wire/limits.ts mirrors them.
const (
	MaxText             = 64 << 10  // bytes of UTF-8 in one message
	MaxEnvelope         = 72 << 10  // bytes of header and ciphertext together
	MaxFrame            = 256 << 10 // bytes of a frame on the socket or a control channel
	MaxFirstFrame       = 4 << 10   // bytes of a frame before Hello is answered
	MaxBody             = 256 << 10 // bytes of a REST body
	MaxPost             = 100       // envelopes in one Post
	MaxPage             = 200       // events in one Page
	MaxPageBytes        = 192 << 10 // of events in one Page
	MaxMembers          = 500
	MaxDevices          = 64
	MaxCandidates       = 64 // a session of a link
	MaxMentions         = 50
	MaxEmoji            = 64  // bytes of a reaction
	MaxChainLinks       = 64  // invitation links of one conversation at a time, used up ones too
	MaxNote             = 200 // characters of a contact request's note
	MaxDepth            = 32  // nested protobuf messages
	MaxFragment         = 16 << 10
	MaxInvitationUses   = 1000
	MaxInvitationLife   = 365 * 24 * time.Hour
	MaxUserName         = 32 // characters
	MinUserName         = 2
	MaxNickname         = 64 // characters
	MinPassword         = 8  // characters
	MaxPassword         = 1024
	MaxSDP              = 64 << 10
	MaxSettingKey       = 64
	MaxSettingValue     = 16 << 10
	MaxDeviceListLookup = 100 // accounts in one GetDeviceLists
	// Suite is the only suite of version 1.
	Suite = 1
	// Version is the protocol's.
	Version = 1
)
