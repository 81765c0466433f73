package main

import (
	"context"
	"net"
	"testing"

	"github.com/pion/turn/v4"

	"github.com/parley-chat/parley/proto"
	pb "github.com/parley-chat/parley/proto/parleyv1"
	"github.com/parley-chat/parley/turnsrv"
)

// TestICERevoked: the credentials of a device work until it is signed out, those of another go on.
func TestICERevoked(t *testing.T) {
	server, err := turnsrv.New(turnsrv.Config{
		ListenUDP: []string{"127.0.0.1:0"}, AllowLoopback: true, Secrets: turnsrv.Secrets{Current: make([]byte, turnSecret)},
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(context.Background()) }()
	t.Cleanup(func() {
		server.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	ice := newICE(server, "localhost")
	account, phone, laptop := proto.NewID(), proto.NewID(), proto.NewID()
	first, other := ice.Servers(account, phone), ice.Servers(account, laptop)
	if err := allocate(t, server, first); err != nil {
		t.Fatalf("fresh credentials: %v", err)
	}
	ice.Revoke(account, phone)
	if allocate(t, server, first) == nil {
		t.Error("the credentials of a device that was signed out work")
	}
	if err := allocate(t, server, other); err != nil {
		t.Errorf("the credentials of another device: %v", err)
	}
	if err := allocate(t, server, ice.Servers(account, phone)); err != nil {
		t.Errorf("credentials after logging in again: %v", err)
	}
	if newICE(nil, "localhost") != nil {
		t.Error("there is ICE without a TURN server")
	}
}

// allocate makes an allocation with credentials and ends it.
func allocate(t *testing.T, server *turnsrv.Server, with *pb.IceServers) error {
	t.Helper()
	var lc net.ListenConfig
	conn, err := lc.ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := with.GetServers()[0]
	client, err := turn.NewClient(&turn.ClientConfig{
		TURNServerAddr: server.UDPAddr().String(), Username: s.GetUsername(), Password: s.GetCredential(), Realm: turnsrv.DefaultRealm, Conn: conn,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { client.Close(); _ = conn.Close() }()
	if err := client.Listen(); err != nil {
		t.Fatal(err)
	}
	relayed, err := client.Allocate()
	if err != nil {
		return err //nolint:wrapcheck // a test
	}
	return relayed.Close() //nolint:wrapcheck // a test
}
