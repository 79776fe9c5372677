/* a /* nested */ ; */ SELECT 1 -- ; the end
;