//! What the demonstration and the namespace tests share. Nothing here is part
//! of the product.

pub mod lab;
