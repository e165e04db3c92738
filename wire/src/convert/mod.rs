//! From wire types to domain types and back. Every `TryFrom` refuses what it does not understand.
