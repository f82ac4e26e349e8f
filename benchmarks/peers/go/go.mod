module rot13echo

go 1.19
