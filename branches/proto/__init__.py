"""Messages and services of the reference branches: .proto files and what is generated from them (`make proto`)."""
