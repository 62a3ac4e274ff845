//! Rules about adapters: their config, their keys, and how they lie on their base.
