SELECT 'a'
'b', e'\n'
'c'