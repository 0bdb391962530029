"""What tests, benchmarks and the demo share: throw-away servers, processes, free ports."""
