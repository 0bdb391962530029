"""Messages and services of the reference branches: .proto files and the code made of them (`make proto`)."""
