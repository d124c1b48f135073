mod access;
mod fetching;
mod kinds;
mod providers;
mod scope;
mod vectors;
