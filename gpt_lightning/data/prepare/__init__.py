"""From documents to a store: chunks, a pool of worker processes, a journal from which a killed run goes on."""
