package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"sync"
	"sync/atomic"

	"github.com/ipfs/boxo/ipns"
	"github.com/libp2p/go-libp2p"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	record "github.com/libp2p/go-libp2p-record"
	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
)

const rsaBits = 2048

// Plan is what a peer is made from. members holds the ids of the peers of this process; it is
// complete before the first connection.
type Plan struct {
	number    int
	behaviour Behaviour
	prefix    string
	listen    []string
	key       []byte
	members   map[peer.ID]bool
	lies      *lies
}

// Peer is one libp2p host with a DHT.
type Peer struct {
	Plan
	host  host.Host
	dht   *dht.IpfsDHT
	delay atomic.Int64

	lock sync.Mutex
	puts map[string]bool
}

func newPeer(ctx context.Context, plan Plan) (*Peer, error) {
	made := &Peer{Plan: plan, puts: map[string]bool{}}
	key, err := plan.identity()
	if err != nil {
		return nil, err
	}
	security := libp2p.Security(noise.ID, noise.New)
	if plan.behaviour == Plaintext {
		security = libp2p.NoSecurity
	}
	made.host, err = libp2p.New(
		libp2p.Identity(key),
		libp2p.ListenAddrStrings(plan.listen...),
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
		security,
		libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.ConnectionManager(connmgr.NullConnMgr{}),
		libp2p.ConnectionGater(gater{made}),
		libp2p.NonPublicAddrPublishing(true),
		libp2p.ForceReachabilityPublic(),
		libp2p.DisableRelay(),
		libp2p.DisableMetrics(),
		libp2p.DisableIdentifyAddressDiscovery(),
	)
	if err != nil {
		return nil, err
	}
	mode := dht.ModeServer
	if plan.behaviour == client {
		mode = dht.ModeClient
	}
	made.dht, err = dht.New(
		gatedHost{made.host, made},
		dht.Mode(mode),
		dht.ProtocolPrefix(protocol.ID(plan.prefix)),
		dht.Validator(record.NamespacedValidator{
			"pk":   record.PublicKeyValidator{},
			"ipns": ipns.Validator{KeyBook: made.host.Peerstore()},
		}),
		dht.DisableAutoRefresh(),
		dht.OnRequestHook(made.note),
	)
	return made, err
}

// identity returns the private key. Go makes RSA keys from its own random numbers only, so the
// seed does not decide these.
func (p Plan) identity() (crypto.PrivKey, error) {
	if p.behaviour == RSA {
		key, _, err := crypto.GenerateRSAKeyPair(rsaBits, rand.Reader)
		return key, err
	}
	return crypto.UnmarshalEd25519PrivateKey(ed25519.NewKeyFromSeed(p.key))
}

func (p *Peer) info() peer.AddrInfo {
	return peer.AddrInfo{ID: p.host.ID(), Addrs: p.host.Addrs()}
}

func (p *Peer) note(_ context.Context, _ network.Stream, request *pb.Message) {
	if request.GetType() == pb.Message_PUT_VALUE {
		p.lock.Lock()
		defer p.lock.Unlock()
		p.puts[string(request.GetKey())] = true
	}
}

func (p *Peer) wasPut(key string) bool {
	p.lock.Lock()
	defer p.lock.Unlock()
	return p.puts[key]
}
