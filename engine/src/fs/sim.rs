//! OUTLINE: simulated disk
