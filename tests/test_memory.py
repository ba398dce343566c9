import pytest

from transferkit import memory


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Files of a machine with 8 GB of memory available, in a container without a limit."""
    (tmp_path / "meminfo").write_text("MemTotal: 16000000 kB\nMemAvailable:    8000000 kB\n")
    (tmp_path / "max").write_text("max\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_LIMITS", (tmp_path / "max", tmp_path / "none"))
    return tmp_path


def test_what_the_system_tells(machine):
    assert memory.available_memory() == 8_000_000 * 1024
    assert memory.memory_for_features() == 2_000_000 * 1024


def test_a_containers_limit(machine):
    (machine / "max").write_text("3000000000\n")
    assert memory.available_memory() == 3_000_000_000


@pytest.mark.parametrize("text", [None, "MemTotal: 16000000 kB\n"])
def test_a_system_that_tells_nothing(machine, text, monkeypatch):
    (machine / "meminfo").unlink()
    if text is not None:
        (machine / "meminfo").write_text(text)
    monkeypatch.setattr(memory.os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 10}.get)
    assert memory.available_memory() == 20480
    monkeypatch.setattr(memory.os, "sysconf", lambda name: int("unknown"))
    assert memory.available_memory() == 4 * 2**30
