package main

import (
	"time"

	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
)

// Behaviour is what a peer does towards peers outside of the process.
type Behaviour string

const (
	Honest    Behaviour = "honest"
	Lies      Behaviour = "lies"      // answers, and says what is not true
	Hangs     Behaviour = "hangs"     // accepts a stream and never answers
	Vanishes  Behaviour = "vanishes"  // closes each connection after the handshake
	Plaintext Behaviour = "plaintext" // is honest, and offers connections without encryption only
	RSA       Behaviour = "rsa"       // is honest, and has an RSA key, as Amino's bootstrap peers have

	client Behaviour = "client" // asks and does not serve
)

// faults are the behaviours that have a share, in the order in which they are given out.
var faults = []Behaviour{Lies, Hangs, Vanishes, Plaintext, RSA}

var known = func() map[Behaviour]bool {
	all := map[Behaviour]bool{}
	for _, each := range faults {
		all[each] = true
	}
	return all
}()

// gater closes the connections of a peer that vanishes.
type gater struct{ peer *Peer }

func (gater) InterceptPeerDial(peer.ID) bool               { return true }
func (gater) InterceptAddrDial(peer.ID, ma.Multiaddr) bool { return true }
func (gater) InterceptAccept(network.ConnMultiaddrs) bool  { return true }

func (g gater) InterceptSecured(way network.Direction, remote peer.ID, _ network.ConnMultiaddrs) bool {
	return g.peer.behaviour != Vanishes || way == network.DirOutbound || g.peer.members[remote]
}

func (gater) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }

// gatedHost is the host that the DHT gets. The handler that the DHT sets for its protocol is called
// for members, and for others as far as the behaviour allows.
type gatedHost struct {
	host.Host
	peer *Peer
}

func (g gatedHost) SetStreamHandler(id protocol.ID, honest network.StreamHandler) {
	g.Host.SetStreamHandler(id, func(stream network.Stream) {
		if g.peer.members[stream.Conn().RemotePeer()] {
			honest(stream)
			return
		}
		time.Sleep(time.Duration(g.peer.delay.Load()))
		switch g.peer.behaviour {
		case Hangs:
			// The stream stays open until the other side closes the connection.
		case Lies:
			g.peer.lieOn(stream)
		default:
			honest(stream)
		}
	})
}
