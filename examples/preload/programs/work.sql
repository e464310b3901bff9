create table t(id integer primary key, name text, amount real);
with recursive c(x) as (select 1 union all select x + 1 from c where x < 60000)
insert into t select x, printf('%032d', x * 7919 % 60001), x * 1.5 from c;
create index names on t(name);
select count(*), sum(amount), min(name), max(name) from t;
select substr(name, 30), count(*) from t group by 1 order by 1 limit 5;
update t set name = name || name where id % 3 = 0;
delete from t where id % 5 = 0;
vacuum;
select count(*), sum(length(name)) from t;
