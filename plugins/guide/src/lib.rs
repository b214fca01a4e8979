//! The examples of the author's guide, `plugins/README.md`: each file is a block of it, word for word, and a whole plugin.
