"""verify: every damage is found and named."""


def test_verify_names_every_damage(store, spec, half_spec, make_ids, flip, write):
    ids = make_ids(10)
    good, bad, cut, renamed = (write(spec, ids[i : i + 2], str(i)) for i in range(0, 8, 2))
    write(half_spec, ids)
    assert store.verify() == []
    flip(bad, -1)
    cut.write_bytes(cut.read_bytes()[:-1])
    renamed = renamed.rename(renamed.with_name("renamed.safetensors"))
    faults = {f.path: f for f in store.verify()}
    assert faults.keys() == {bad, cut, renamed}
    assert (faults[bad].ids, faults[bad].n_rows, faults[bad].key) == ((ids[3],), 1, spec.key)
    assert "unreadable" in faults[cut].reason
    assert faults[cut].ids == faults[renamed].ids == ()
    assert good.exists()
    assert store.verify(half_spec.key[:6]) == []
    # Whoever verified knows what to compute again, and the rest is still used.
    assert store.missing(spec, ids[:8]) == [ids[3], ids[4], ids[5]]
    assert len(store.read(spec, ids[6:8])) == 2
