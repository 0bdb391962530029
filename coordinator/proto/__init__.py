"""The gRPC messages (PROTOCOL §4): .proto files and what is generated from them. Imports nothing of ours.

`coordinator.proto.dtmgimp`, `.dtmcoordinator` and `.workflow` are betterproto2 code and never edited; change
the .proto and run `make proto`. `descriptors.binpb` holds the same files as a serialized FileDescriptorSet,
which is what server reflection reads.
"""

from importlib import resources

__all__ = ["descriptor_set", "register_descriptors"]


def descriptor_set() -> bytes:
    """Return the serialized google.protobuf.FileDescriptorSet of our .proto files, without their imports."""
    return resources.files(__name__).joinpath("descriptors.binpb").read_bytes()


def register_descriptors() -> None:
    """Make our .proto files known to protobuf's default pool, where grpclib's reflection looks them up.

    Harmless when called again. Raises TypeError when another file of the same name and other content is there
    already.
    """
    # Imported here: only a server with reflection needs protobuf's runtime, clients work with betterproto2
    # alone.
    from google.protobuf import descriptor_pb2, descriptor_pool, empty_pb2

    pool = descriptor_pool.Default()
    pool.FindFileByName(empty_pb2.DESCRIPTOR.name)  # what ours import must be in the pool before them
    for file in descriptor_pb2.FileDescriptorSet.FromString(descriptor_set()).file:
        pool.AddSerializedFile(file.SerializeToString())
