// Command verify reads a published log with Go's own note and tlog packages.
//
//	verify PUBLIC OLD_CHECKPOINT LOG_VKEY WITNESS_VKEY PROOF ENTRY
//
// It checks the checkpoint's log signature and cosignature, every tile and entry under the checkpoint's
// root, that the old checkpoint is of the same history, and that PROOF, a .tlog-proof file, is the proof
// of the bytes in the file ENTRY. It prints the tree's size and the entry's index.
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const tileHeight = 8

func main() {
	if len(os.Args) != 7 {
		fail(errors.New("usage: verify PUBLIC OLD_CHECKPOINT LOG_VKEY WITNESS_VKEY PROOF ENTRY"))
	}
	size, index, err := verify(os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5], os.Args[6])
	if err != nil {
		fail(err)
	}
	fmt.Println(size, index)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func verify(public, oldPath, logKey, witnessKey, proofPath, entryPath string) (size, index int64, err error) {
	logVerifier, err := note.NewVerifier(logKey)
	if err != nil {
		return 0, 0, err
	}
	witnessVerifier, err := newCosignatureVerifier(witnessKey)
	if err != nil {
		return 0, 0, err
	}
	known := note.VerifierList(logVerifier, witnessVerifier)
	tree, err := openCheckpoint(filepath.Join(public, "checkpoint"), known, logVerifier.Name())
	if err != nil {
		return 0, 0, err
	}
	old, err := openCheckpoint(oldPath, known, logVerifier.Name())
	if err != nil {
		return 0, 0, err
	}
	reader := tlog.TileHashReader(tree, tileFolder(public))
	if err := checkEntries(public, tree, reader); err != nil {
		return 0, 0, err
	}
	if err := checkHistory(tree, old, reader); err != nil {
		return 0, 0, err
	}
	index, err = checkProof(proofPath, entryPath, tree, known, logVerifier.Name(), reader)
	return tree.N, index, err
}

// openCheckpoint is the tree of a note that both the log and the witness signed.
func openCheckpoint(path string, known note.Verifiers, origin string) (tlog.Tree, error) {
	message, err := os.ReadFile(path)
	if err != nil {
		return tlog.Tree{}, err
	}
	return parseCheckpoint(message, known, origin)
}

func parseCheckpoint(message []byte, known note.Verifiers, origin string) (tlog.Tree, error) {
	opened, err := note.Open(message, known)
	if err != nil {
		return tlog.Tree{}, err
	}
	if len(opened.Sigs) != 2 {
		return tlog.Tree{}, fmt.Errorf("%d of 2 known keys signed", len(opened.Sigs))
	}
	if !strings.HasPrefix(opened.Text, origin+"\n") {
		return tlog.Tree{}, errors.New("checkpoint is of another log")
	}
	// The packages know one origin only; size and root are spelled alike.
	return tlog.ParseTree([]byte("go.sum database tree\n" + opened.Text[len(origin)+1:]))
}

// checkEntries compares every entry with the hash that the authenticated tiles have for it.
func checkEntries(public string, tree tlog.Tree, reader tlog.HashReader) error {
	root, err := tlog.TreeHash(tree.N, reader)
	if err != nil {
		return err
	}
	if root != tree.Hash {
		return errors.New("the tiles give another root")
	}
	for start := int64(0); start < tree.N; start += 1 << tileHeight {
		width := int(min64(tree.N-start, 1<<tileHeight))
		entries, err := readEntries(public, start>>tileHeight, width)
		if err != nil {
			return err
		}
		indexes := make([]int64, width)
		for i := range indexes {
			indexes[i] = tlog.StoredHashIndex(0, start+int64(i))
		}
		hashes, err := reader.ReadHashes(indexes)
		if err != nil {
			return err
		}
		for i, entry := range entries {
			if tlog.RecordHash(entry) != hashes[i] {
				return fmt.Errorf("entry %d is not the one in the tree", start+int64(i))
			}
		}
	}
	return nil
}

func readEntries(public string, number int64, width int) ([][]byte, error) {
	tile := tlog.Tile{H: tileHeight, L: 0, N: number, W: width}
	path := strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/0/", tileHeight), "tile/entries/", 1)
	content, err := os.ReadFile(filepath.Join(public, path))
	if err != nil {
		return nil, err
	}
	var entries [][]byte
	for len(content) >= 2 {
		size := int(binary.BigEndian.Uint16(content))
		if len(content) < 2+size {
			break
		}
		entries = append(entries, content[2:2+size])
		content = content[2+size:]
	}
	if len(content) != 0 || len(entries) != width {
		return nil, fmt.Errorf("%s has %d entries and %d bytes more", path, len(entries), len(content))
	}
	return entries, nil
}

func checkHistory(tree, old tlog.Tree, reader tlog.HashReader) error {
	proof, err := tlog.ProveTree(tree.N, old.N, reader)
	if err != nil {
		return err
	}
	return tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash)
}

func checkProof(
	proofPath, entryPath string, tree tlog.Tree, known note.Verifiers, origin string, reader tlog.HashReader,
) (int64, error) {
	content, err := os.ReadFile(proofPath)
	if err != nil {
		return 0, err
	}
	entry, err := os.ReadFile(entryPath)
	if err != nil {
		return 0, err
	}
	index, proof, checkpoint, err := parseProof(content)
	if err != nil {
		return 0, err
	}
	shown, err := parseCheckpoint(checkpoint, known, origin)
	if err != nil {
		return 0, err
	}
	if err := tlog.CheckRecord(proof, shown.N, shown.Hash, index, tlog.RecordHash(entry)); err != nil {
		return 0, err
	}
	made, err := tlog.ProveRecord(tree.N, index, reader)
	if err != nil {
		return 0, err
	}
	if shown != tree || fmt.Sprint(made) != fmt.Sprint(proof) {
		return 0, errors.New("the tiles give another proof")
	}
	return index, nil
}

// parseProof splits a .tlog-proof without an extra line.
func parseProof(content []byte) (index int64, proof tlog.RecordProof, checkpoint []byte, err error) {
	head, checkpoint, found := bytes.Cut(content, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	if !found || len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return 0, nil, nil, errors.New("not a tlog-proof")
	}
	index, err = strconv.ParseInt(strings.TrimPrefix(lines[1], "index "), 10, 64)
	if err != nil {
		return 0, nil, nil, err
	}
	for _, line := range lines[2:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return 0, nil, nil, err
		}
		proof = append(proof, hash)
	}
	return index, proof, checkpoint, nil
}

// tileFolder is a tlog.TileReader over a public directory.
type tileFolder string

func (f tileFolder) Height() int { return tileHeight }

func (f tileFolder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	contents := make([][]byte, len(tiles))
	for i, tile := range tiles {
		path := strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/", tileHeight), "tile/", 1)
		content, err := os.ReadFile(filepath.Join(string(f), path))
		if err != nil {
			return nil, err
		}
		if len(content) != tile.W*tlog.HashSize {
			return nil, fmt.Errorf("%s has %d bytes", path, len(content))
		}
		contents[i] = content
	}
	return contents, nil
}

func (f tileFolder) SaveTiles([]tlog.Tile, [][]byte) {}

// cosignatureVerifier is a note.Verifier for cosignatures of type 4, which the note package lacks.
type cosignatureVerifier struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func newCosignatureVerifier(vkey string) (*cosignatureVerifier, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return nil, errors.New("not a verifier key")
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) != 1+ed25519.PublicKeySize || key[0] != 4 {
		return nil, errors.New("not a cosigner's key")
	}
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), key...))
	hash := binary.BigEndian.Uint32(sum[:])
	if fmt.Sprintf("%08x", hash) != parts[1] {
		return nil, errors.New("key id is not the key's")
	}
	return &cosignatureVerifier{name: parts[0], hash: hash, key: key[1:]}, nil
}

func (v *cosignatureVerifier) Name() string    { return v.name }
func (v *cosignatureVerifier) KeyHash() uint32 { return v.hash }

func (v *cosignatureVerifier) Verify(message, signature []byte) bool {
	if len(signature) != 8+ed25519.SignatureSize {
		return false
	}
	signed := fmt.Sprintf("cosignature/v1\ntime %d\n%s", binary.BigEndian.Uint64(signature), message)
	return ed25519.Verify(v.key, []byte(signed), signature[8:])
}

func min64(a, b int64) int64 {
	if a < b {
		return a
	}
	return b
}
