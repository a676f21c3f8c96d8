package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/ipfs/boxo/ipns"
	"github.com/ipfs/go-cid"
	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	record "github.com/libp2p/go-libp2p-record"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
)

const commandSeconds = 60 * time.Second

// Swarm is a set of peers that know each other, and a publisher that is a client of theirs.
type Swarm struct {
	peers     []*Peer
	publisher *Peer
	lies      *lies
}

// start makes the peers. Each has all the others in its routing table, as far as the buckets have
// room, so that no peer has to walk the DHT first.
func start(ctx context.Context, settings Settings) (*Swarm, error) {
	random := rand.New(rand.NewPCG(settings.seed, 0))
	behaviours := settings.behaviours(random)
	swarm := &Swarm{lies: newLies()}
	members := map[peer.ID]bool{}
	for number := range settings.peers {
		listen := settings.listen[number%len(settings.listen)]
		made, err := newPeer(ctx, Plan{
			number:    number,
			behaviour: behaviours[number],
			prefix:    settings.prefix,
			listen:    []string{listen},
			key:       keySeed(random),
			members:   members,
			lies:      swarm.lies,
		})
		if err != nil {
			return nil, fmt.Errorf("peer %d: %w", number, err)
		}
		swarm.peers = append(swarm.peers, made)
	}
	publisher, err := newPeer(ctx, Plan{
		behaviour: client, prefix: settings.prefix, key: keySeed(random), members: members,
	})
	if err != nil {
		return nil, fmt.Errorf("publisher: %w", err)
	}
	swarm.publisher = publisher
	for _, each := range swarm.peers {
		members[each.host.ID()] = true
		if each.behaviour == Lies {
			swarm.lies.liars = append(swarm.lies.liars, each.info())
		}
	}
	members[publisher.host.ID()] = true
	for _, each := range append(swarm.peers, publisher) {
		if err := each.learn(swarm.peers); err != nil {
			return nil, err
		}
	}
	return swarm, nil
}

// behaviours returns one for each peer, in an order that the seed decides.
func (s Settings) behaviours(random *rand.Rand) []Behaviour {
	var all []Behaviour
	for _, each := range faults {
		for range int(s.shares[each]*float64(s.peers) + 0.5) {
			all = append(all, each)
		}
	}
	for len(all) < s.peers {
		all = append(all, Honest)
	}
	all = all[:s.peers]
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

func keySeed(random *rand.Rand) []byte {
	seed := make([]byte, 32)
	for at := range seed {
		seed[at] = byte(random.Uint32())
	}
	return seed
}

func (s *Swarm) describe() map[string]any {
	all := make([]map[string]any, len(s.peers))
	for number, each := range s.peers {
		addresses, _ := peer.AddrInfoToP2pAddrs(&peer.AddrInfo{ID: each.host.ID(), Addrs: each.host.Addrs()})
		all[number] = map[string]any{
			"id": each.host.ID().String(), "behaviour": each.behaviour, "addresses": addresses,
		}
	}
	return map[string]any{"peers": all}
}

func (s *Swarm) command(ctx context.Context, name string, words []string) (map[string]any, error) {
	ctx, cancel := context.WithTimeout(ctx, commandSeconds)
	defer cancel()
	switch name {
	case "put", "place", "lie":
		if len(words) < 2 {
			return nil, fmt.Errorf("%s needs a name and a record", name)
		}
		key, err := routingKey(words[0])
		if err != nil {
			return nil, err
		}
		switch name {
		case "put":
			return s.put(ctx, key, words[1])
		case "place":
			return s.place(ctx, key, words[1], words[2:])
		}
		return s.lie(key, words[1:])
	case "provide":
		if len(words) != 1 {
			return nil, fmt.Errorf("provide needs one CID")
		}
		return s.provide(ctx, words[0])
	case "slow":
		return s.slow(words)
	}
	return nil, fmt.Errorf("%q is no command", name)
}

func routingKey(name string) (string, error) {
	parsed, err := ipns.NameFromString(name)
	return string(parsed.RoutingKey()), err
}

// put stores a record at the peers that are closest to its key, and says which were asked to.
func (s *Swarm) put(ctx context.Context, key, text string) (map[string]any, error) {
	value, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, err
	}
	if err := s.publisher.dht.PutValue(ctx, key, value); err != nil {
		return nil, err
	}
	holders := []int{}
	for number, each := range s.peers {
		if each.wasPut(key) {
			holders = append(holders, number)
		}
	}
	return map[string]any{"holders": holders}, nil
}

func (s *Swarm) place(ctx context.Context, key, text string, numbers []string) (map[string]any, error) {
	value, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, err
	}
	chosen, err := s.chosen(numbers)
	if err != nil {
		return nil, err
	}
	messenger, err := pb.NewProtocolMessenger(s.publisher.dht.MessageSender())
	if err != nil {
		return nil, err
	}
	for _, each := range chosen {
		if err := messenger.PutValue(ctx, each.host.ID(), record.MakePutRecord(key, value)); err != nil {
			return nil, fmt.Errorf("peer %d: %w", each.number, err)
		}
	}
	return map[string]any{"holders": numbers}, nil
}

func (s *Swarm) lie(key string, texts []string) (map[string]any, error) {
	var records [][]byte
	for _, text := range texts {
		value, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, err
		}
		records = append(records, value)
	}
	s.lies.set(key, records)
	return map[string]any{"liars": len(s.lies.liars)}, nil
}

func (s *Swarm) provide(ctx context.Context, text string) (map[string]any, error) {
	parsed, err := cid.Decode(text)
	if err != nil {
		return nil, err
	}
	// A client has no address of its own, so it is a provider without one.
	if err := s.publisher.dht.Provide(ctx, parsed, true); err != nil {
		return nil, err
	}
	return map[string]any{"provider": s.publisher.host.ID().String()}, nil
}

func (s *Swarm) slow(words []string) (map[string]any, error) {
	if len(words) < 2 {
		return nil, fmt.Errorf("slow needs milliseconds and numbers of peers")
	}
	milliseconds, err := strconv.ParseUint(words[0], 10, 32)
	if err != nil {
		return nil, err
	}
	chosen, err := s.chosen(words[1:])
	if err != nil {
		return nil, err
	}
	for _, each := range chosen {
		each.delay.Store(int64(time.Duration(milliseconds) * time.Millisecond))
	}
	return map[string]any{"slow": words[1:]}, nil
}

func (s *Swarm) chosen(numbers []string) ([]*Peer, error) {
	var found []*Peer
	for _, text := range numbers {
		number, err := strconv.Atoi(text)
		if err != nil || number < 0 || number >= len(s.peers) {
			return nil, fmt.Errorf("%q is no number of a peer", text)
		}
		found = append(found, s.peers[number])
	}
	return found, nil
}

func (p *Peer) learn(others []*Peer) error {
	for _, other := range others {
		if other == p {
			continue
		}
		p.host.Peerstore().AddAddrs(other.host.ID(), other.host.Addrs(), peerstore.PermanentAddrTTL)
		// The error says that the bucket is full.
		_, _ = p.dht.RoutingTable().TryAddPeer(other.host.ID(), true, false)
	}
	if p.dht.RoutingTable().Size() == 0 && len(others) > 1 {
		return fmt.Errorf("peer %d knows no other", p.number)
	}
	return nil
}
