//! Many vectors and many mini-batches at once, in dense and in row-space vectors: the same numbers as
//! one at a time.
