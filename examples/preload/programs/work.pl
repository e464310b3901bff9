my %count;
for my $i (1 .. 120_000) { my $word = join "", map { chr(97 + ($i * $_) % 26) } 1 .. 5; $count{$word} .= "x"; }
my @top = sort { length $count{$b} <=> length $count{$a} || $a cmp $b } keys %count;
print scalar(@top), " $_ ", length $count{$_}, "\n" for @top[0 .. 9];
