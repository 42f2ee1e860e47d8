//! The one outside call that each stage makes.
