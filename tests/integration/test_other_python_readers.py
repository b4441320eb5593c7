"""Two Python packages that share no code with this one read our log, checkpoint and proof."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from creditledger.transparency.tlog_proof import parse_tlog_proof
from fakes.published_log import INDEX, OLD_SIZE, SIZE, PublishedLog, post_quantum_signer, published_log

OTHER_KEY = str(post_quantum_signer("nobody.example").vkey)


@pytest.fixture(scope="module")
def log() -> PublishedLog:
    return published_log()


class TestTlogScales:
    """`tlog-scales`: tiles, checkpoints with all three signature types, inclusion and consistency."""

    @pytest.fixture(autouse=True)
    def installed(self) -> None:
        pytest.importorskip("tlog_scales", reason="tlog-scales is not installed: see the test extra")

    def test_the_log_is_what_the_checkpoint_says(self, log: PublishedLog) -> None:
        from tlog_scales.backend import LocalBackend
        from tlog_scales.reader import TilesReader
        from tlog_scales.tiles import leaf_hash

        reader = TilesReader(LocalBackend(log.public))
        checkpoint = reader.get_checkpoint()
        assert (checkpoint.size, reader.calculate_root_hash()) == (SIZE, checkpoint.root_hash)
        assert reader.get_entry(INDEX) == log.entry
        for index in range(SIZE):
            proof = reader.get_inclusion_proof(index, SIZE)
            proof.check(leaf_hash(reader.get_entry(index)), checkpoint.root_hash)

    def test_our_proofs_are_those_of_their_reader(self, log: PublishedLog) -> None:
        from tlog_scales.backend import LocalBackend
        from tlog_scales.reader import TilesReader
        from tlog_scales.tiles import leaf_hash
        from tlog_scales.tlog import Checkpoint, InclusionProof, InclusionProofInvalid

        reader = TilesReader(LocalBackend(log.public))
        root = reader.get_checkpoint().root_hash
        ours = parse_tlog_proof(log.proof)
        theirs = InclusionProof(ours.index, SIZE, list(ours.hashes))
        theirs.check(leaf_hash(log.entry), root)
        assert theirs.node_hashes == reader.get_inclusion_proof(INDEX, SIZE).node_hashes
        with pytest.raises(InclusionProofInvalid):
            theirs.check(leaf_hash(log.entry + b"\0"), root)
        old = Checkpoint.from_text(log.old_note.decode())
        reader.get_consistency_proof(OLD_SIZE, SIZE).check(old.root_hash, root)

    def test_every_signature_line_verifies(self, log: PublishedLog) -> None:
        from cryptography.exceptions import InvalidSignature
        from tlog_scales.signing import Vkey
        from tlog_scales.tlog import Checkpoint

        own = post_quantum_signer()
        checkpoint = Checkpoint.from_text(log.cosigned(own).decode())
        for vkey in (log.log_vkey, log.witness_vkey, own.vkey):
            checkpoint.verify(Vkey.from_string(str(vkey)))
            larger = Checkpoint(
                checkpoint.origin, checkpoint.size + 1, checkpoint.root_hash, checkpoint.signatures
            )
            with pytest.raises(InvalidSignature):
                larger.verify(Vkey.from_string(str(vkey)))
        with pytest.raises(RuntimeError):
            checkpoint.verify(Vkey.from_string(OTHER_KEY))

    def test_a_changed_tile_is_another_root(self, log: PublishedLog, tmp_path: Path) -> None:
        from tlog_scales.backend import LocalBackend
        from tlog_scales.reader import TilesReader

        public = tmp_path / "public"
        shutil.copytree(log.public, public)
        tile = public / "tile" / "0" / "002.p" / str(SIZE % 256)
        content = bytearray(tile.read_bytes())
        content[0] ^= 1
        tile.chmod(0o600)
        tile.write_bytes(content)
        reader = TilesReader(LocalBackend(public))
        assert reader.get_checkpoint().root_hash != reader.calculate_root_hash()


class TestProofbundle:
    """`proofbundle`: C2SP checkpoints, cosignatures and proofs in text."""

    @pytest.fixture(autouse=True)
    def installed(self) -> None:
        pytest.importorskip("proofbundle", reason="proofbundle is not installed: see the test extra")

    def test_our_proof_verifies(self, log: PublishedLog) -> None:
        from proofbundle.tlogproof import verify_tlog_proof

        log_vkey, witnesses = str(log.log_vkey), [str(log.witness_vkey)]
        origin = log.log_vkey.name
        found = verify_tlog_proof(
            log.proof.decode(), log.entry, log_vkey, witnesses, threshold=1, expected_origin=origin
        )
        assert found["ok"], found
        assert (found["origin"], found["tree_size"], found["index"]) == (origin, SIZE, INDEX)

    def test_their_writer_spells_it_as_ours_does(self, log: PublishedLog) -> None:
        from proofbundle.tlogproof import format_tlog_proof
        from proofbundle.tlogproof import parse_tlog_proof as parse_theirs

        ours = parse_tlog_proof(log.proof)
        arguments = ours.index, list(ours.hashes), ours.checkpoint.decode()
        assert format_tlog_proof(*arguments).encode() == log.proof
        extended = replace(ours, extra=b"nobody signs this")
        assert format_tlog_proof(*arguments, extra=extended.extra).encode() == extended.encode()
        assert parse_theirs(extended.encode().decode())["extra"] == extended.extra

    @pytest.mark.parametrize("change", ["entry", "index", "hash", "signature", "quorum", "log key"])
    def test_a_change_is_refused(self, log: PublishedLog, change: str) -> None:
        from proofbundle.tlogproof import verify_tlog_proof

        ours = parse_tlog_proof(log.proof)
        entry, log_vkey, threshold = log.entry, str(log.log_vkey), 1
        if change == "entry":
            entry += b"\0"
        elif change == "index":
            ours = replace(ours, index=INDEX + 1)
        elif change == "hash":
            ours = replace(ours, hashes=(bytes(32), *ours.hashes[1:]))
        elif change == "signature":
            ours = replace(ours, checkpoint=ours.checkpoint.replace(b"\n523\n", b"\n524\n"))
        elif change == "quorum":
            threshold = 2
        else:
            log_vkey = str(replace(log.log_vkey, public_key=log.witness_vkey.public_key))
        assert ours.encode() != log.proof or change in ("entry", "quorum", "log key")
        found = verify_tlog_proof(
            ours.encode().decode(), entry, log_vkey, [str(log.witness_vkey)], threshold=threshold
        )
        assert not found["ok"]

    def test_every_signature_line_verifies(self, log: PublishedLog) -> None:
        from proofbundle.checkpoint import verify_checkpoint, verify_cosignature, witness_quorum

        own, witness = post_quantum_signer(), post_quantum_signer("witness.example")
        for signer in (own, witness):
            note = log.cosigned(signer).decode()
            assert verify_checkpoint(note, str(log.log_vkey))["ok"]
            assert verify_cosignature(note, str(log.witness_vkey))["ok"]
            found = verify_cosignature(note, str(signer.vkey))
            assert (found["ok"], found["alg"]) == (True, "ml-dsa-44")
            assert not verify_cosignature(note.replace("\n523\n", "\n524\n"), str(signer.vkey))["ok"]
        vkeys = [str(log.witness_vkey), str(witness.vkey)]
        key = log.log_vkey.public_key
        assert witness_quorum(note, vkeys, 2, log_key_material=key)[0]
        assert not witness_quorum(note, vkeys, 3, log_key_material=key)[0]
