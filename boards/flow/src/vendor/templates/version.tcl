# Versions that know the board: @range@.
set vivado [join [lrange [split [version -short] .] 0 1] .]
set last "@last@"
if {[package vcompare $vivado @first@] < 0 || ($last ne "" && [package vcompare $vivado $last] > 0)} {
    error "Vivado $vivado cannot build for @board@: use @range@"
}
