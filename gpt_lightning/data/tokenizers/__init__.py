"""From text to ids and back: bytes, characters, trained and imported vocabularies, one interface."""
