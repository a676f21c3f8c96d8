package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"

	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	record "github.com/libp2p/go-libp2p-record"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-msgio"
	ma "github.com/multiformats/go-multiaddr"
	"google.golang.org/protobuf/proto"
)

const (
	invented  = 20 // peers in one answer
	tries     = 64 // ids of which the closest to the key is taken
	tooLarge  = 64 << 20
	dripEvery = time.Second
)

// lies holds what all peers that lie have in common.
type lies struct {
	liars []peer.AddrInfo

	lock    sync.Mutex
	records map[string][][]byte
}

func newLies() *lies { return &lies{records: map[string][][]byte{}} }

func (l *lies) set(key string, records [][]byte) {
	l.lock.Lock()
	defer l.lock.Unlock()
	l.records[key] = records
}

// record returns one of the records that were given for the key, or random bytes.
func (l *lies) record(key []byte, number int) []byte {
	l.lock.Lock()
	defer l.lock.Unlock()
	if given := l.records[string(key)]; len(given) > 0 {
		return given[number%len(given)]
	}
	return randomBytes(300)
}

// lieOn answers each request on a stream. The number of the peer chooses the kind of lie.
func (p *Peer) lieOn(stream network.Stream) {
	defer stream.Close()
	reader := msgio.NewVarintReaderSize(stream, network.MessageSizeMax)
	for {
		data, err := reader.ReadMsg()
		if err != nil {
			return
		}
		var request pb.Message
		if err := proto.Unmarshal(data, &request); err != nil {
			return
		}
		if !p.lie(stream, &request) {
			return
		}
	}
}

// lie writes one answer, and says whether the stream goes on.
func (p *Peer) lie(stream network.Stream, request *pb.Message) bool {
	answer := pb.NewMessage(request.GetType(), request.GetKey(), 0)
	answer.ProviderPeers = pb.RawPeerInfosToPBPeers(badProviders())
	if request.GetType() == pb.Message_GET_VALUE {
		answer.Record = record.MakePutRecord(string(request.GetKey()), p.lies.record(request.GetKey(), p.number))
	}
	switch p.number % 5 {
	case 0: // its record, and the other liars
		answer.CloserPeers = pb.RawPeerInfosToPBPeers(p.lies.liars)
	case 1: // its record, and peers that do not exist, close to the key
		answer.CloserPeers = pb.RawPeerInfosToPBPeers(inventedPeers(request.GetKey()))
	case 2: // bytes that are no message
		return msgio.NewVarintWriter(stream).WriteMsg(randomBytes(400)) == nil
	case 3: // the length of a message that is too large, and its beginning
		_, err := stream.Write(append(binary.AppendUvarint(nil, tooLarge), randomBytes(64<<10)...))
		return err == nil
	case 4: // one byte a second
		return drip(stream, answer)
	}
	whole, err := proto.Marshal(answer)
	return err == nil && msgio.NewVarintWriter(stream).WriteMsg(whole) == nil
}

func drip(stream network.Stream, answer *pb.Message) bool {
	whole, err := proto.Marshal(answer)
	if err != nil {
		return false
	}
	for _, each := range append(binary.AppendUvarint(nil, uint64(len(whole))), whole...) {
		if _, err := stream.Write([]byte{each}); err != nil {
			return false
		}
		time.Sleep(dripEvery)
	}
	return true
}

// inventedPeers returns peers that nobody is, closer to the key than most that exist. Their port
// is closed.
func inventedPeers(key []byte) []peer.AddrInfo {
	target := sha256.Sum256(key)
	found := make([]peer.AddrInfo, invented)
	for at := range found {
		var best []byte
		for range tries {
			// The identity multihash of an ed25519 key.
			id := append([]byte{0x00, 0x24, 0x08, 0x01, 0x12, 0x20}, randomBytes(32)...)
			if best == nil || bytes.Compare(distance(id, target), distance(best, target)) < 0 {
				best = id
			}
		}
		found[at] = peer.AddrInfo{ID: peer.ID(best), Addrs: addresses("/ip4/127.0.0.1/tcp/1")}
	}
	return found
}

func distance(id []byte, target [32]byte) []byte {
	sum := sha256.Sum256(id)
	for at := range sum {
		sum[at] ^= target[at]
	}
	return sum[:]
}

// badProviders returns providers at addresses where a client must not look for one.
func badProviders() []peer.AddrInfo {
	id := append([]byte{0x00, 0x24, 0x08, 0x01, 0x12, 0x20}, randomBytes(32)...)
	return []peer.AddrInfo{{ID: peer.ID(id), Addrs: addresses(
		"/ip4/127.0.0.1/tcp/1", "/ip4/169.254.169.254/tcp/80/http", "/ip4/0.0.0.0/tcp/1", "/ip6/::1/tcp/1",
	)}}
}

func addresses(texts ...string) []ma.Multiaddr {
	found := make([]ma.Multiaddr, len(texts))
	for at, text := range texts {
		found[at] = ma.StringCast(text)
	}
	return found
}

func randomBytes(size int) []byte {
	data := make([]byte, size)
	_, _ = rand.Read(data)
	return data
}
